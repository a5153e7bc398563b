{{ config(meta={'by_cycle': true}, post_hook=["{{ references_as_of_now() }}"]) }}

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
        max(weight) filter (where arm = 'challenger') as challenger_weight,
        -- An archive's output may stand for two arms: then the flywheel's choice is the one that was made.
        arg_max(choice, arm = 'flywheel') as choice,
        arg_max(probability, arm = 'flywheel') as probability
    from {{ ref('stg_published_outputs') }}
    group by 1, 2, 3

),

exported as (

    select
        flywheel,
        cycle,
        output_id,
        min(recorded_at) as exported_at
    from {{ ref('stg_exports') }}
    group by 1, 2, 3

),

-- A request that failed and was asked again stands once for each time; all of it was paid for this output.
asked as (

    select
        flywheel,
        cycle,
        request_key,
        case
            when bool_and(prompt_tokens is not null and completion_tokens is not null or status = 'failed')
                then sum(prompt_tokens + completion_tokens)
        end::bigint as request_tokens,
        case when bool_and(cost is not null or status = 'failed') then sum(cost) end as request_cost
    from {{ ref('stg_llm_requests') }}
    group by 1, 2, 3

),

manifests as (

    select * from {{ ref('stg_cycle_manifest') }}

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

used as (

    select
        flywheel,
        reference_id,
        sum(n_outputs)::bigint as n_times_used_as_reference
    from {{ ref('int_shown_references') }}
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
        generated.request_key,

        ---------- what it is
        briefs.title as brief_title,
        generated.segment,
        generated.arm,
        generated.variant,
        generated.attempt,
        generated.text,
        generated.content,
        generated.producer,
        generated.model,
        generated.prompt_version,
        generated.reference_ids,
        generated.n_references_dropped,
        generated.predicted,
        generated.rank,
        generated.blocked,
        generated.soft_score,
        generated.soft_scores,
        generated.is_superseded,
        manifests.is_synthetic,
        asked.request_tokens,
        asked.request_cost,

        ---------- where it went out
        coalesce(published.arms, []) as arms,
        published.output_id is not null as is_published,
        published.flywheel_weight is not null as in_flywheel_arm,
        published.control_weight is not null as in_control_arm,
        published.challenger_weight is not null as in_challenger_arm,
        published.flywheel_weight,
        published.control_weight,
        published.challenger_weight,
        published.choice,
        published.probability,
        exported.exported_at,

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
    left join exported
        on
            generated.flywheel = exported.flywheel
            and generated.cycle = exported.cycle
            and generated.output_id = exported.output_id
    left join asked
        on
            generated.flywheel = asked.flywheel
            and generated.cycle = asked.cycle
            and generated.request_key = asked.request_key
    left join manifests
        on generated.flywheel = manifests.flywheel and generated.cycle = manifests.cycle
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
order by flywheel, cycle, brief_id, arm, attempt, variant
