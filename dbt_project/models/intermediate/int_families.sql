{{ config(meta={'by_cycle': true}) }}

-- Outputs times references would be hundreds of millions of pairs in a long history. Outputs that were shown the same
-- references share every ancestor, so they are counted together.
with

generated as (

    select * from {{ ref('stg_generated_outputs') }}

),

published as (

    select distinct
        flywheel,
        cycle,
        output_id
    from {{ ref('stg_published_outputs') }}

),

scored as (

    select * from {{ ref('stg_scored_outputs') }}

),

depths as (

    select * from {{ ref('stg_ancestry') }}

),

final as (

    select

        ---------- ids
        generated.flywheel,
        generated.cycle,
        generated.reference_ids,

        ---------- how many there are, and how they did
        count(*) as n_outputs,
        count(published.output_id) as n_published,
        count(scored.output_id) as n_judged,
        count(*) filter (where scored.decision = 'promote') as n_promoted,
        max(depths.depth) as depth

    from generated
    left join published
        on
            generated.flywheel = published.flywheel
            and generated.cycle = published.cycle
            and generated.output_id = published.output_id
    left join scored
        on
            generated.flywheel = scored.flywheel
            and generated.cycle = scored.cycle
            and generated.output_id = scored.output_id
    left join depths
        on
            generated.flywheel = depths.flywheel
            and generated.cycle = depths.cycle
            and generated.output_id = depths.output_id
    where len(generated.reference_ids) > 0
    group by 1, 2, 3

)

select * from final
order by flywheel, cycle, reference_ids
