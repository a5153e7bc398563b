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
        reason,
        by_people,

        ---------- numerics
        quality,
        p_above,
        freshness,
        relevance,
        likeness,
        depth,
        mean_depth,
        rank,

        ---------- dates
        cycle,
        source_cycle,

        ---------- lists
        family

    from source

)

select * from renamed
