with

used as (

    select * from {{ ref('prompts_used') }}

),

outcomes as (

    select * from {{ ref('int_arm_outcomes') }}

),

measured as (

    select distinct
        momentum.flywheel,
        momentum.cycle,
        momentum.metric,
        definitions.better
    from {{ ref('stg_momentum') }} as momentum
    left join {{ ref('int_metric_definitions') }} as definitions
        on momentum.flywheel = definitions.flywheel and momentum.metric = definitions.metric

),

-- What an arm made of its briefs, by the prompt that the arm was written with; the treadmill's briefs of the same cycles
-- are what it is compared with, so that a good week flatters neither.
seen as (

    select
        used.flywheel,
        used.prompt_version,
        used.arm,
        used.cycle,
        outcomes.segment,
        outcomes.n_briefs,
        outcomes.mean_outcome,
        outcomes.squared_deviations,
        outcomes.arm <> used.arm as is_treadmill
    from used
    inner join outcomes
        on
            used.flywheel = outcomes.flywheel
            and used.cycle = outcomes.cycle
            and outcomes.arm in (used.arm, 'control')
    where outcomes.n_briefs > 0

),

-- Sums in the order of the cycles: the last bits of a sum depend on it.
means as (

    select
        flywheel,
        prompt_version,
        arm,
        is_treadmill,
        segment,
        sum(n_briefs * mean_outcome order by cycle) / sum(n_briefs) as mean_outcome
    from seen
    group by 1, 2, 3, 4, 5

),

-- The briefs scatter around the mean of their cycle, and the cycles around the mean of all.
summed as (

    select
        means.flywheel,
        means.prompt_version,
        means.arm,
        means.is_treadmill,
        means.segment,
        means.mean_outcome,
        count(distinct seen.cycle) as n_cycles,
        sum(seen.n_briefs)::bigint as n_briefs,
        sum(
            seen.squared_deviations + seen.n_briefs * pow(seen.mean_outcome - means.mean_outcome, 2)
            order by seen.cycle
        ) / nullif(sum(seen.n_briefs) - 1, 0) / sum(seen.n_briefs) as error
    from means
    inner join seen
        on
            means.flywheel = seen.flywheel
            and means.prompt_version = seen.prompt_version
            and means.arm = seen.arm
            and means.is_treadmill = seen.is_treadmill
            and means.segment = seen.segment
    group by 1, 2, 3, 4, 5, 6

),

achieved as (

    select * exclude (is_treadmill) from summed
    where not is_treadmill

),

treadmill as (

    select * from summed
    where is_treadmill

),

judged as (

    select
        used.flywheel,
        used.prompt_version,
        used.arm,
        outcomes.segment,
        sum(outcomes.n_judged)::bigint as n_judged,
        sum(outcomes.n_promoted)::bigint as n_promoted
    from used
    inner join outcomes
        on
            used.flywheel = outcomes.flywheel
            and used.cycle = outcomes.cycle
            and used.arm = outcomes.arm
    group by 1, 2, 3, 4

),

about as (

    select
        used.flywheel,
        used.prompt_version,
        used.arm,
        any_value(used.frame_version) as frame_version,
        any_value(used.author) as author,
        any_value(used.n_references) as n_references,
        any_value(measured.metric) as metric,
        bool_or(measured.better = 'lower') as is_lower_better,
        bool_or(used.is_synthetic) as is_synthetic
    from used
    left join measured on used.flywheel = measured.flywheel and used.cycle = measured.cycle
    group by 1, 2, 3

),

compared as (

    select
        achieved.*,
        treadmill.n_briefs as n_control_briefs,
        treadmill.mean_outcome as control_mean,
        case when treadmill.mean_outcome > 0 then achieved.mean_outcome / treadmill.mean_outcome end as ratio,
        -- Delta method for the ratio of two independent means.
        1.96 * sqrt(achieved.error + pow(ratio, 2) * treadmill.error) / treadmill.mean_outcome as margin,
        about.frame_version,
        about.author,
        about.n_references,
        about.metric,
        about.is_lower_better,
        about.is_synthetic
    from achieved
    inner join about
        on
            achieved.flywheel = about.flywheel
            and achieved.prompt_version = about.prompt_version
            and achieved.arm = about.arm
    left join treadmill
        on
            achieved.flywheel = treadmill.flywheel
            and achieved.prompt_version = treadmill.prompt_version
            and achieved.arm = treadmill.arm
            and achieved.segment = treadmill.segment

),

final as (

    select

        ---------- ids
        compared.flywheel,
        compared.prompt_version,
        compared.arm,
        compared.segment,
        compared.frame_version,
        compared.author,
        compared.n_references,
        compared.is_synthetic,

        ---------- what it achieved
        compared.metric,
        compared.n_cycles,
        compared.n_briefs,
        compared.mean_outcome,
        coalesce(judged.n_judged, 0) as n_judged,
        coalesce(judged.n_promoted, 0) as n_promoted,

        ---------- beside the treadmill
        coalesce(compared.n_control_briefs, 0) as n_control_briefs,
        compared.control_mean,
        if(compared.is_lower_better, 1 - compared.ratio, compared.ratio - 1) as lift,
        lift - compared.margin as lower,
        lift + compared.margin as upper

    from compared
    left join judged
        on
            compared.flywheel = judged.flywheel
            and compared.prompt_version = judged.prompt_version
            and compared.arm = judged.arm
            and compared.segment = judged.segment

)

select * from final
order by flywheel, prompt_version, arm, segment
