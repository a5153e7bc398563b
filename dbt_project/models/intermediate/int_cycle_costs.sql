{{ config(meta={'by_cycle': true}) }}

with

requests as (

    select
        flywheel,
        cycle,
        arm,
        status,
        n_tries,
        prompt_tokens,
        cached_tokens,
        completion_tokens,
        cost
    from {{ ref('stg_llm_requests') }}

    union all

    -- Nobody pays for what the offline writer embeds; the budget passes over the same rows (llm/ledger.py).
    select
        flywheel,
        cycle,
        'embeddings' as arm,
        'answered' as status,
        n_tries,
        prompt_tokens,
        0 as cached_tokens,
        0 as completion_tokens,
        cost
    from {{ ref('stg_embedding_requests') }}
    where not starts_with(embedding_model, 'endpoint/offline-writer')

),

generated as (

    select * from {{ ref('stg_generated_outputs') }}

),

published as (

    select * from {{ ref('stg_published_outputs') }}

),

promoted as (

    select
        flywheel,
        cycle,
        output_id
    from {{ ref('stg_scored_outputs') }}
    where decision = 'promote'

),

closed as (

    select distinct
        flywheel,
        cycle
    from {{ ref('stg_scored_outputs') }}

),

manifests as (

    select * from {{ ref('stg_cycle_manifest') }}

),

-- Only an answer that nobody could put a price on makes a total unknown. A request that failed without any usage being
-- reported is counted in `n_uncounted` instead: one time-out would otherwise blank the figures of the whole cycle.
asked as (

    select
        flywheel,
        cycle,
        coalesce(arm, 'all') as arm,
        count(*) as n_requests,
        count(*) filter (where status = 'answered') as n_answered,
        count(*) filter (where status = 'failed') as n_failed,
        sum(n_tries)::bigint as n_tries,
        count(*) filter (where prompt_tokens is null or completion_tokens is null) as n_uncounted,
        bool_or(
            status = 'answered' and (prompt_tokens is null or completion_tokens is null)
        ) as tokens_unknown,
        bool_or(status = 'answered' and cost is null) as cost_unknown,
        coalesce(sum(prompt_tokens), 0)::bigint as prompt_tokens,
        coalesce(sum(cached_tokens), 0)::bigint as cached_tokens,
        coalesce(sum(completion_tokens), 0)::bigint as completion_tokens,
        coalesce(sum(cost), 0) as cost
    from requests
    group by grouping sets ((flywheel, cycle), (flywheel, cycle, arm))

),

written as (

    select
        flywheel,
        cycle,
        coalesce(arm, 'all') as arm,
        count(*) as n_outputs,
        count(*) filter (where blocked is not null) as n_blocked,
        count(*) filter (where is_superseded) as n_superseded
    from generated
    group by grouping sets ((flywheel, cycle), (flywheel, cycle, arm))

),

out_and_proven as (

    select
        published.flywheel,
        published.cycle,
        coalesce(published.arm, 'all') as arm,
        count(distinct published.output_id) as n_published,
        count(distinct promoted.output_id) as n_promoted
    from published
    left join promoted
        on
            published.flywheel = promoted.flywheel
            and published.cycle = promoted.cycle
            and published.output_id = promoted.output_id
    group by grouping sets ((published.flywheel, published.cycle), (published.flywheel, published.cycle, published.arm))

),

final as (

    select

        ---------- ids
        asked.flywheel,
        asked.cycle,
        asked.arm,

        ---------- what was asked
        asked.n_requests,
        asked.n_answered,
        asked.n_failed,
        asked.n_tries,
        asked.n_uncounted,

        ---------- what was paid
        case when not asked.tokens_unknown then asked.prompt_tokens end as prompt_tokens,
        case when not asked.tokens_unknown then asked.cached_tokens end as cached_tokens,
        case when not asked.tokens_unknown then asked.completion_tokens end as completion_tokens,
        case when not asked.tokens_unknown then asked.prompt_tokens + asked.completion_tokens end as tokens,
        case when not asked.cost_unknown then asked.cost end as cost,

        ---------- what came of it
        coalesce(written.n_outputs, 0) as n_outputs,
        coalesce(written.n_blocked, 0) as n_blocked,
        coalesce(written.n_superseded, 0) as n_superseded,
        coalesce(out_and_proven.n_published, 0) as n_published,
        case when closed.cycle is not null then coalesce(out_and_proven.n_promoted, 0) end as n_promoted,

        ---------- about the cycle
        manifests.is_synthetic

    from asked
    left join written
        on asked.flywheel = written.flywheel and asked.cycle = written.cycle and asked.arm = written.arm
    left join out_and_proven
        on
            asked.flywheel = out_and_proven.flywheel
            and asked.cycle = out_and_proven.cycle
            and asked.arm = out_and_proven.arm
    left join closed on asked.flywheel = closed.flywheel and asked.cycle = closed.cycle
    left join manifests on asked.flywheel = manifests.flywheel and asked.cycle = manifests.cycle

)

select * from final
order by flywheel, cycle, arm
