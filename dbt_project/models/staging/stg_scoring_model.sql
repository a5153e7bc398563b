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
        embedding_model,
        reason,
        settings,

        ---------- numerics
        n_outputs,
        n_briefs,
        holdout_correlation,
        holdout_hit_rate,
        holdout_chance,
        holdout_briefs,
        n_without_vector,

        ---------- booleans
        is_skilled,

        ---------- dates
        cycle,
        as_of,
        window_first,
        window_last,

        ---------- timestamps
        known_at

    from source

)

select * from renamed
