with

source as (

    select * from {{ source('lake', 'embedding_requests') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        request_key,
        batch_id,

        ---------- text
        embedding_model,

        ---------- numerics
        n_texts,
        n_tries,
        prompt_tokens,
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
