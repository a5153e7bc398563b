{#
    The rules of the feeds' contracts (`flywheel_pipelines/feedback/contracts/rules.py`), as generic tests. Which feed has
    which is in models/staging/_feeds.yml, which `flywheel contracts --write` makes. A test holds these, Great
    Expectations and the contracts to the same verdicts.
#}

{# Rows for which a condition does not hold; an unknown (null) fails. #}
{% test holds_for_every_row(model, condition) %}
select *
from {{ model }}
where ({{ condition }}) is not true
{% endtest %}

{# Columns that a view of the lake lacks, or has with another type. #}
{% test has_columns(model, table, columns) %}
{% for name, kind in columns.items() %}
select
    '{{ name }}' as column_name,
    '{{ kind }}' as expected_type
where not exists (
    select 1
    from duckdb_columns()
    where schema_name = 'lake' and table_name = '{{ table }}'
        and column_name = '{{ name }}' and data_type = '{{ kind }}'
)
{% if not loop.last %}union all{% endif %}
{% endfor %}
{% endtest %}

{# Facts about outputs that never went out in their cycle, by no attempt. #}
{% test published_in_its_cycle(model, cycle) %}
with facts as (
    -- `where` in the YAML makes a subquery with an alias of the model, so it is named here.
    select * from {{ model }}
)

select facts.*
from facts
where not exists (
    select 1
    from (
        select flywheel, cycle, output_id from {{ source('lake', 'published_outputs') }}
        union all
        select flywheel, cycle, output_id from {{ source('lake', 'exports') }}
    ) as published
    where published.flywheel = facts.flywheel
        and published.cycle = facts.{{ cycle }}
        and published.output_id = facts.output_id
)
{% endtest %}

{# Outputs with more successes than exposure, as latest known and summed over their days. #}
{% test rate_within_exposure(model, successes, exposure) %}
with facts as (
    select * from {{ model }}
),

known as (
    select *
    from facts
    where not exists (
        select 1
        from {{ source('lake', 'metric_replacements') }} as replacements
        where replacements.flywheel = facts.flywheel
            and replacements.feed = facts.feed
            and replacements.cycle = facts.cycle
            and facts.measured_on between replacements.first_day and replacements.last_day
            and (facts.recorded_at, facts.batch_id) < (replacements.recorded_at, replacements.batch_id)
    )
    qualify row_number() over (
        partition by flywheel, cycle, output_id, measure, measured_on
        order by recorded_at desc, batch_id desc, source_row desc
    ) = 1
)

select
    flywheel,
    cycle,
    output_id,
    sum(value) filter (where measure = '{{ successes }}') as {{ successes }},
    sum(value) filter (where measure = '{{ exposure }}') as {{ exposure }}
from known
group by all
having {{ successes }} > {{ exposure }}
{% endtest %}

{# Published cycles without rows of the feed, after this many later ones; the oldest are let be. #}
{% test reported_within(model, flywheel, cycles, history) %}
{{ published_cycles(flywheel) }}
select published.*
from published
where published.n_later between {{ cycles }} and {{ history }}
    and published.cycle > (select min(cycle) from {{ model }})
    and published.cycle not in (select cycle from {{ model }})
{% endtest %}

{# The newest mature cycle, when its rows lie outside a robust band around the median of those before it. #}
{% test volume_as_usual(model, flywheel, mature_after, history, min_history, band, least_spread) %}
{{ published_cycles(flywheel) }},

facts as (
    select * from {{ model }}
),

files as (
    -- A file that is handed in again under its name restates what it said: the larger number counts.
    select
        facts.cycle,
        batches.source,
        facts.batch_id,
        count(*) as n_rows
    from facts
    inner join {{ source('lake', 'batches') }} as batches
        on facts.flywheel = batches.flywheel and facts.batch_id = batches.batch_id
    group by all
),

sizes as (
    select cycle, sum(n_rows) as n_rows
    from (select cycle, source, max(n_rows) as n_rows from files group by all)
    group by all
),

judged as (
    select
        published.cycle,
        published.n_later,
        coalesce(sizes.n_rows, 0) as n_rows
    from published
    left join sizes on published.cycle = sizes.cycle
    where published.n_later >= {{ mature_after }} and published.cycle >= (select min(cycle) from sizes)
    order by published.cycle desc
    limit 1
),

past as (
    select sizes.n_rows
    from judged
    inner join published on published.n_later between judged.n_later + 1 and judged.n_later + {{ history }}
    inner join sizes on sizes.cycle = published.cycle
),

usual as (
    select
        median(n_rows) as usual_rows,
        1.4826 * mad(n_rows) as spread,
        count(*) as n_cycles
    from past
)

select
    judged.cycle,
    judged.n_rows,
    usual.usual_rows,
    (judged.n_rows - usual.usual_rows) / greatest(usual.spread, {{ least_spread }} * usual.usual_rows)
        as volume_deviation
from judged
cross join usual
where usual.n_cycles >= {{ min_history }} and abs(volume_deviation) > {{ band }}
{% endtest %}

{# The cycles that a flywheel published, each with the number of those after it. #}
{% macro published_cycles(flywheel) %}
with published as (
    select
        cycle,
        row_number() over (order by cycle desc) - 1 as n_later
    from (
        select distinct cycle from {{ source('lake', 'published_outputs') }} where flywheel = '{{ flywheel }}'
    )
)
{% endmacro %}
