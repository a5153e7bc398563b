-- "Explainable in SQL": whatever went out can be traced to the brief it answers and the cycle that produced it.
select
    outputs.flywheel,
    outputs.cycle,
    outputs.output_id
from {{ ref('outputs') }} as outputs
left join {{ ref('lineage') }} as lineage
    on
        outputs.flywheel = lineage.flywheel
        and outputs.output_id = lineage.to_id
        and lineage.relation in ('answered_by', 'produced')
where outputs.is_published
group by 1, 2, 3
having count(lineage.relation) < 2
