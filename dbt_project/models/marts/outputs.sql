with

generated as (

    select * from {{ ref('stg_generated_outputs') }}

),

briefs as (

    select * from {{ ref('stg_briefs') }}

),

scored as (

    select * from {{ ref('stg_scored_outputs') }}

),

published as (

    select
        flywheel,
        cycle,
        output_id,
        list(arm order by arm) as arms,
        max(weight) filter (where arm = 'flywheel') as flywheel_weight,
        max(weight) filter (where arm = 'control') as control_weight,
        max(weight) filter (where arm = 'challenger') as challenger_weight
    from {{ ref('stg_published_outputs') }}
    group by 1, 2, 3

),

measured as (

    select
        flywheel,
        cycle,
        output_id,
        map(list(metric order by metric), list(value order by metric)) as metrics
    from {{ ref('stg_performance_metrics') }}
    group by 1, 2, 3

),

uses as (

    select
        flywheel,
        unnest(reference_ids) as reference_id
    from generated

),

used as (

    select
        flywheel,
        reference_id,
        count(*) as n_times_used_as_reference
    from uses
    group by 1, 2

),

corpus as (

    select * from {{ ref('reference_corpus') }}

),

final as (

    select

        ---------- ids
        generated.flywheel,
        generated.cycle,
        generated.output_id,
        generated.brief_id,
        generated.candidate_id,

        ---------- what it is
        briefs.title as brief_title,
        generated.segment,
        generated.variant,
        generated.text,
        generated.producer,
        generated.prompt_version,
        generated.reference_ids,
        generated.predicted,
        generated.rank,

        ---------- where it went out
        coalesce(published.arms, []) as arms,
        published.output_id is not null as is_published,
        published.flywheel_weight is not null as in_flywheel_arm,
        published.control_weight is not null as in_control_arm,
        published.challenger_weight is not null as in_challenger_arm,
        published.flywheel_weight,
        published.control_weight,
        published.challenger_weight,

        ---------- what came back
        measured.metrics,
        scored.metric as floor_metric,
        scored.exposure,
        scored.observed as observed_value,
        scored.prior_mean,
        scored.posterior_mean,
        scored.lower as posterior_lower,
        scored.upper as posterior_upper,
        scored.floor_level,
        scored.p_above,
        scored.decision,
        scored.reason,
        scored.is_mature,

        ---------- what became of it
        coalesce(corpus.is_current, false) as is_reference,
        corpus.first_cycle as reference_since,
        coalesce(used.n_times_used_as_reference, 0) as n_times_used_as_reference

    from generated
    left join briefs
        on
            generated.flywheel = briefs.flywheel
            and generated.cycle = briefs.cycle
            and generated.brief_id = briefs.brief_id
    left join published
        on
            generated.flywheel = published.flywheel
            and generated.cycle = published.cycle
            and generated.output_id = published.output_id
    left join measured
        on
            generated.flywheel = measured.flywheel
            and generated.cycle = measured.cycle
            and generated.output_id = measured.output_id
    left join scored
        on
            generated.flywheel = scored.flywheel
            and generated.cycle = scored.cycle
            and generated.output_id = scored.output_id
    left join corpus
        on generated.flywheel = corpus.flywheel and generated.output_id = corpus.reference_id
    left join used
        on generated.flywheel = used.flywheel and generated.output_id = used.reference_id

)

select * from final
order by flywheel, cycle, brief_id, variant
