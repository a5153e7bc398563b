with

source as (

    select * from {{ source('lake', 'momentum') }}

),

renamed as (

    select

        ---------- ids
        flywheel,

        ---------- text
        scope,
        metric,

        ---------- numerics
        n_briefs,
        flywheel_mean,
        control_mean,
        lift,
        lower,
        upper,
        anytime_lift,
        anytime_lower,
        anytime_upper,
        hit_rate,
        chance_rate,
        n_contrasts,
        n_flywheel,
        n_control,
        n_both,

        ---------- dates
        cycle,

        ---------- lists
        sums,
        strata

    from source

)

select * from renamed
