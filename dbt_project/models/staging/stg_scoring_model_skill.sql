with

source as (

    select * from {{ source('lake', 'scoring_model_skill') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        model_version,

        ---------- text
        block,

        ---------- numerics
        holdout_briefs,
        correlation,
        z,
        hit_rate,
        chance,

        ---------- dates
        cycle,
        holdout_first

    from source

)

select * from renamed
