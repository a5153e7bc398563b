{# Descendants and ancestors of one output. #}

{% macro ancestry_functions() %}
{{ table_function(
    "descendants_of",
    "ancestor_id",
    "Every output that was written with the output as a reference, or with one of its descendants, with the shortest way there and how it did.",
    descendants_of_query()
) }}
{{ table_function(
    "ancestors_of",
    "descendant_id",
    "Every reference that the output was written with, and those that they were written with, with the shortest way there and how each did.",
    ancestors_of_query()
) }}
{% endmacro %}

{# Only references lead on, so the walk is over them; all other outputs are leaves. #}
{% macro descendants_of_query() %}
with recursive

edges as materialized (
    select flywheel, output_id as child_id, unnest(reference_ids) as parent_id
    from {{ whole(ref('outputs')) }}
    where n_times_used_as_reference > 0
),

walk as (
    select flywheel, output_id as reference_id, 0 as generation
    from {{ whole(ref('outputs')) }}
    where output_id = ancestor_id
    union
    select walk.flywheel, edges.child_id as reference_id, walk.generation + 1 as generation
    from walk
    inner join edges on walk.flywheel = edges.flywheel and walk.reference_id = edges.parent_id
),

shown as (
    select flywheel, output_id, unnest(reference_ids) as reference_id
    from {{ whole(ref('outputs')) }}
),

nearest as (
    select shown.flywheel, shown.output_id, min(walk.generation) + 1 as generation
    from walk
    inner join shown on walk.flywheel = shown.flywheel and walk.reference_id = shown.reference_id
    group by all
)

{{ relatives() }}
{% endmacro %}

{# The references are looked up once, and not in all outputs at every step. #}
{% macro ancestors_of_query() %}
with recursive

written_with as materialized (
    select flywheel, output_id, reference_ids
    from {{ whole(ref('outputs')) }}
    where output_id = descendant_id or n_times_used_as_reference > 0
),

walk as (
    select flywheel, unnest(reference_ids) as output_id, 1 as generation
    from written_with
    where output_id = descendant_id
    union
    select walk.flywheel, unnest(written_with.reference_ids) as output_id, walk.generation + 1 as generation
    from walk
    inner join written_with on walk.flywheel = written_with.flywheel and walk.output_id = written_with.output_id
),

nearest as (
    select flywheel, output_id, min(generation) as generation
    from walk
    group by all
)

{{ relatives(among="n_times_used_as_reference > 0") }}
{% endmacro %}

{# Who is known to be among few outputs is looked up among these: DuckDB cannot guess how few a walk gives. #}
{% macro relatives(among="true") %}
select
    nearest.generation,
    outputs.flywheel,
    outputs.cycle,
    outputs.output_id,
    outputs.segment,
    outputs.arms,
    outputs.decision,
    outputs.observed_value,
    outputs.p_above
from nearest
inner join (select * from {{ whole(ref('outputs')) }} where {{ among }}) as outputs
    on nearest.flywheel = outputs.flywheel and nearest.output_id = outputs.output_id
order by nearest.generation, outputs.cycle, outputs.output_id
{% endmacro %}
