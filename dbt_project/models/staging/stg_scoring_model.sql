with

source as (

    select * from {{ source('lake', 'scoring_model') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        model_version,

        ---------- text
        metrics,
        parameters,

        ---------- numerics
        n_outputs,
        n_briefs,

        ---------- booleans
        is_informative,

        ---------- dates
        cycle,
        window_first,
        window_last,

        ---------- lists
        features,
        coefficients,
        idf

    from source

)

select * from renamed
