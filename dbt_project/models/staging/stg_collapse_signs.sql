with

source as (

    select * from {{ source('lake', 'collapse_signs') }}

),

renamed as (

    select

        ---------- ids
        flywheel,

        ---------- text
        scope,

        ---------- numerics
        n_texts,
        distinct_1,
        distinct_2,
        similarity,
        depth,
        mean_depth,
        human_share,
        n_first,
        first_distinct_2,
        first_similarity,
        distinct_fall,
        similarity_rise,

        ---------- dates
        cycle,

        ---------- lists
        past,
        n_past

    from source

)

select * from renamed
