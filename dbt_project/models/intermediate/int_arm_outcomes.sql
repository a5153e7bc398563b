{{ config(meta={'by_cycle': true}) }}

-- What each arm made of its briefs in a cycle, so that prompts are compared without going through every brief again.
with

outcomes as (

    select * from {{ ref('stg_brief_outcomes') }}
    where is_counted

),

published as (

    select * from {{ ref('stg_published_outputs') }}

),

scored as (

    select * from {{ ref('stg_scored_outputs') }}

),

measured as (

    select distinct
        flywheel,
        cycle,
        metric
    from {{ ref('stg_momentum') }}

),

by_arm as (

    select
        flywheel,
        cycle,
        brief_id,
        segment,
        unnest(['flywheel', 'control', 'challenger']) as arm,
        unnest([flywheel_value, control_value, challenger_value]) as outcome
    from outcomes

    union all

    -- The arms that lack a part are outside the lift, and no brief has their outcome; it is the same weighted mean.
    select
        published.flywheel,
        published.cycle,
        published.brief_id,
        any_value(published.segment) as segment,
        published.arm,
        sum(published.weight * performance.value order by published.output_id)
        / sum(published.weight order by published.output_id) as outcome
    from published
    inner join measured on published.flywheel = measured.flywheel and published.cycle = measured.cycle
    inner join {{ ref('stg_performance_metrics') }} as performance
        on
            published.flywheel = performance.flywheel
            and published.cycle = performance.cycle
            and published.output_id = performance.output_id
            and measured.metric = performance.metric
    where
        published.arm in ('no_references', 'no_guidelines')
        and published.weight > 0
        and performance.value is not null
    group by published.flywheel, published.cycle, published.brief_id, published.arm

),

-- In the order of the briefs: the last bits of a mean depend on it. A segment named all is what a flywheel without
-- segments has: its row would be that of all segments once more.
achieved as (

    select
        flywheel,
        cycle,
        arm,
        coalesce(segment, 'all') as segment,
        count(*) as n_briefs,
        avg(outcome order by brief_id, outcome) as mean_outcome,
        var_pop(outcome order by brief_id, outcome) * count(*) as squared_deviations
    from by_arm
    where outcome is not null
    group by grouping sets ((flywheel, cycle, arm), (flywheel, cycle, arm, segment))
    having grouping(segment) = 1 or segment <> 'all'

),

judged as (

    select
        published.flywheel,
        published.cycle,
        published.arm,
        coalesce(published.segment, 'all') as segment,
        count(scored.output_id) as n_judged,
        count(*) filter (where scored.decision = 'promote') as n_promoted
    from published
    left join scored
        on
            published.flywheel = scored.flywheel
            and published.cycle = scored.cycle
            and published.output_id = scored.output_id
    group by
        grouping sets (
            (published.flywheel, published.cycle, published.arm),
            (published.flywheel, published.cycle, published.arm, published.segment)
        )
    having grouping(published.segment) = 1 or published.segment <> 'all'

),

final as (

    select

        ---------- ids
        coalesce(achieved.flywheel, judged.flywheel) as flywheel,
        coalesce(achieved.cycle, judged.cycle) as cycle,
        coalesce(achieved.arm, judged.arm) as arm,
        coalesce(achieved.segment, judged.segment) as segment,

        ---------- its briefs
        coalesce(achieved.n_briefs, 0) as n_briefs,
        achieved.mean_outcome,
        achieved.squared_deviations,

        ---------- its outputs
        coalesce(judged.n_judged, 0) as n_judged,
        coalesce(judged.n_promoted, 0) as n_promoted

    from achieved
    full join judged
        on
            achieved.flywheel = judged.flywheel
            and achieved.cycle = judged.cycle
            and achieved.arm = judged.arm
            and achieved.segment = judged.segment

)

select * from final
order by flywheel, cycle, arm, segment
