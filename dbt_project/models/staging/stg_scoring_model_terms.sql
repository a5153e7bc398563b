with

source as (

    select * from {{ source('lake', 'scoring_model_terms') }}

),

renamed as (

    select

        ---------- ids
        flywheel,

        ---------- text
        kind,
        term,
        coefficient,
        idf,
        centre,
        scale,

        ---------- dates
        cycle

    from source

)

select * from renamed
