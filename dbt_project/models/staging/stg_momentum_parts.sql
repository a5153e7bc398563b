with

source as (

    select * from {{ source('lake', 'momentum_parts') }}

),

renamed as (

    select

        ---------- ids
        flywheel,

        ---------- text
        arm,
        part,
        metric,

        ---------- numerics
        n_flywheel,
        n_without,
        n_control,
        contribution,
        lower,
        upper,
        lift,
        lift_lower,
        lift_upper,

        ---------- dates
        cycle,

        ---------- lists
        strata,
        lift_strata

    from source

)

select * from renamed
