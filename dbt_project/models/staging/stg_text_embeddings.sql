with

source as (

    select * from {{ source('lake', 'text_embeddings') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        text_hash,
        batch_id,

        ---------- text
        embedding_model,

        ---------- numerics
        source_row,

        ---------- dates
        cycle,

        ---------- timestamps
        recorded_at,

        ---------- lists
        vector

    from source

)

select * from renamed
