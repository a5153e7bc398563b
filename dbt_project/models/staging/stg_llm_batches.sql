with

source as (

    select * from {{ source('lake', 'llm_batches') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        provider_batch_id,
        input_file_id,
        batch_id,

        ---------- text
        event,
        model,

        ---------- numerics
        n_requests,
        n_answered,
        source_row,

        ---------- dates
        cycle,

        ---------- timestamps
        recorded_at,

        ---------- lists
        request_keys

    from source

)

select * from renamed
