with

source as (

    select * from {{ source('lake', 'llm_requests') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        request_key,
        brief_id,
        prompt_version,
        batch_id,

        ---------- text
        arm,
        model,
        mode,
        structured_output,
        messages,
        status,
        answer,
        error,
        tries,

        ---------- numerics
        variant,
        attempt,
        n_tries,
        prompt_tokens,
        cached_tokens,
        completion_tokens,
        cost,
        latency,
        source_row,

        ---------- dates
        cycle,

        ---------- timestamps
        recorded_at

    from source

)

select * from renamed
