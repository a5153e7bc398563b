{{ config(meta={'by_cycle': true}) }}

with

briefs as (

    select
        flywheel,
        cycle,
        count(*) as n_briefs
    from {{ ref('stg_briefs') }}
    group by 1, 2

),

generated as (

    select
        flywheel,
        cycle,
        count(*) filter (where not is_superseded) as n_candidates,
        count(*) filter (where not is_superseded and blocked is not null) as n_blocked,
        count(*) filter (where is_superseded) as n_superseded
    from {{ ref('stg_generated_outputs') }}
    group by 1, 2

),

published as (

    select
        flywheel,
        cycle,
        count(distinct output_id) as n_published,
        count(*) filter (where arm = 'flywheel') as n_published_flywheel,
        count(*) filter (where arm = 'control') as n_published_control,
        count(*) filter (where arm = 'challenger') as n_published_challenger,
        count(*) filter (where arm = 'no_references') as n_published_no_references,
        count(*) filter (where arm = 'no_guidelines') as n_published_no_guidelines,
        count(*) filter (where arm = 'no_selection') as n_published_no_selection
    from {{ ref('stg_published_outputs') }}
    group by 1, 2

),

measured as (

    select
        flywheel,
        cycle,
        count(distinct output_id) as n_measured
    from {{ ref('stg_performance_metrics') }}
    where exposure > 0
    group by 1, 2

),

scored as (

    select
        flywheel,
        cycle,
        count(*) filter (where decision = 'promote') as n_promoted,
        count(*) filter (where decision = 'hold') as n_held,
        count(*) filter (where decision = 'reject') as n_rejected
    from {{ ref('stg_scored_outputs') }}
    group by 1, 2

),

corpus as (

    select
        flywheel,
        cycle,
        count(*) as corpus_size
    from {{ ref('stg_reference_corpus') }}
    group by 1, 2

),

manifests as (

    select * from {{ ref('stg_cycle_manifest') }}

),

prompts as (

    select * from {{ ref('stg_refreshed_prompt') }}

),

spine as (

    select
        flywheel,
        cycle
    from briefs
    union
    select
        flywheel,
        cycle
    from manifests
    union
    select
        flywheel,
        cycle
    from prompts

),

final as (

    select

        ---------- ids
        spine.flywheel,
        spine.cycle,

        ---------- what it was produced with
        manifests.predecessor,
        manifests.prompt_version,
        manifests.corpus_version,
        manifests.scoring_model_version,
        manifests.threshold_version,
        manifests.config_hash,
        manifests.model,
        manifests.attempt,
        manifests.knowledge_cutoff,
        coalesce(manifests.gap_allowed, false) as opened_with_gap,
        manifests.is_synthetic,

        ---------- what it produced
        coalesce(briefs.n_briefs, 0) as n_briefs,
        coalesce(generated.n_candidates, 0) as n_candidates,
        coalesce(generated.n_blocked, 0) as n_blocked,
        coalesce(generated.n_superseded, 0) as n_superseded,
        coalesce(published.n_published, 0) as n_published,
        coalesce(published.n_published_flywheel, 0) as n_published_flywheel,
        coalesce(published.n_published_control, 0) as n_published_control,
        coalesce(published.n_published_challenger, 0) as n_published_challenger,
        coalesce(published.n_published_no_references, 0) as n_published_no_references,
        coalesce(published.n_published_no_guidelines, 0) as n_published_no_guidelines,
        coalesce(published.n_published_no_selection, 0) as n_published_no_selection,

        ---------- what came back
        coalesce(measured.n_measured, 0) as n_measured,
        coalesce(scored.n_promoted, 0) as n_promoted,
        coalesce(scored.n_held, 0) as n_held,
        coalesce(scored.n_rejected, 0) as n_rejected,

        ---------- what it left to the next cycle
        prompts.prompt_version is not null as is_closed,
        coalesce(corpus.corpus_size, 0) as corpus_size,
        prompts.prompt_version as refreshed_prompt_version,
        coalesce(prompts.is_changed, false) as prompt_changed

    from spine
    left join briefs on spine.flywheel = briefs.flywheel and spine.cycle = briefs.cycle
    left join generated on spine.flywheel = generated.flywheel and spine.cycle = generated.cycle
    left join published on spine.flywheel = published.flywheel and spine.cycle = published.cycle
    left join measured on spine.flywheel = measured.flywheel and spine.cycle = measured.cycle
    left join scored on spine.flywheel = scored.flywheel and spine.cycle = scored.cycle
    left join corpus on spine.flywheel = corpus.flywheel and spine.cycle = corpus.cycle
    left join manifests on spine.flywheel = manifests.flywheel and spine.cycle = manifests.cycle
    left join prompts on spine.flywheel = prompts.flywheel and spine.cycle = prompts.cycle

)

select * from final
order by flywheel, cycle
