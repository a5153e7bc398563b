with

source as (

    select * from {{ source('lake', 'reference_corpus') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        reference_id,
        corpus_version,

        ---------- text
        segment,
        text,

        ---------- numerics
        quality,
        p_above,
        rank,

        ---------- dates
        cycle,
        source_cycle

    from source

)

select * from renamed
