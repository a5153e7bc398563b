{{ config(meta={'by_cycle': true}) }}

with

requests as (

    select * from {{ ref('stg_llm_requests') }}

),

manifests as (

    select * from {{ ref('stg_cycle_manifest') }}

),

-- Without what was asked and answered: these are the bulk of the lake, and `outputs` holds what came of them.
final as (

    select

        ---------- ids
        requests.flywheel,
        requests.cycle,
        requests.request_key,
        requests.recorded_at,
        requests.brief_id,
        requests.arm,
        requests.variant,
        requests.attempt,
        requests.prompt_version,
        manifests.is_synthetic,

        ---------- how it was asked
        requests.model,
        requests.mode,
        requests.structured_output,

        ---------- what came of it
        requests.status,
        requests.error,
        requests.n_tries,
        requests.latency,

        ---------- what was paid
        requests.prompt_tokens,
        requests.cached_tokens,
        requests.completion_tokens,
        requests.cost

    from requests
    left join manifests on requests.flywheel = manifests.flywheel and requests.cycle = manifests.cycle

)

select * from final
order by flywheel, cycle, brief_id, arm, attempt, variant, recorded_at, request_key
