{{ config(meta={'by_cycle': true}) }}

with

scored as (

    select * from {{ ref('stg_scored_outputs') }}

),

guardrails as (

    select * from {{ ref('stg_guardrail_scores') }}

),

manifests as (

    select * from {{ ref('stg_cycle_manifest') }}

),

definitions as (

    select * from {{ ref('int_metric_definitions') }}

),

judged as (

    select
        flywheel,
        cycle,
        output_id,
        brief_id,
        segment,
        metric,
        'floor' as role,
        threshold_version,
        exposure,
        observed,
        prior_mean,
        posterior_mean,
        lower,
        upper,
        floor_level as bar,
        p_above as p_good,
        decision,
        is_vetoed as is_veto,
        reason,
        is_mature
    from scored

    union all

    select
        flywheel,
        cycle,
        output_id,
        brief_id,
        segment,
        metric,
        'guardrail' as role,
        threshold_version,
        exposure,
        observed,
        null as prior_mean,
        posterior_mean,
        lower,
        upper,
        limit_value as bar,
        p_within as p_good,
        decision,
        is_veto,
        reason,
        is_mature
    from guardrails

),

final as (

    select

        ---------- ids
        judged.flywheel,
        judged.cycle,
        judged.output_id,
        judged.metric,
        judged.role,
        judged.brief_id,
        judged.segment,
        judged.threshold_version,
        manifests.is_synthetic,

        ---------- what was seen
        judged.exposure,
        judged.observed,
        judged.is_mature,

        ---------- what is believed
        judged.prior_mean,
        judged.posterior_mean,
        judged.lower,
        judged.upper,
        judged.bar,
        definitions.better,
        judged.p_good,
        case
            when judged.bar > 0 and definitions.better = 'lower' then 1 - judged.posterior_mean / judged.bar
            when judged.bar > 0 then judged.posterior_mean / judged.bar - 1
        end as relative_gain,

        ---------- what was decided
        judged.decision,
        judged.is_veto,
        judged.reason

    from judged
    left join manifests on judged.flywheel = manifests.flywheel and judged.cycle = manifests.cycle
    left join definitions on judged.flywheel = definitions.flywheel and judged.metric = definitions.metric

)

select * from final
order by flywheel, cycle, output_id, role, metric
