with

source as (

    select * from {{ source('lake', 'scored_outputs') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        output_id,
        brief_id,
        threshold_version,

        ---------- text
        segment,
        metric,
        decision,
        reason,

        ---------- numerics
        exposure,
        observed,
        sampling_variance,
        prior_mean,
        prior_strength,
        posterior_mean,
        lower,
        upper,
        floor_level,
        p_above,

        ---------- booleans
        is_mature,
        is_vetoed,

        ---------- dates
        cycle

    from source

)

select * from renamed
