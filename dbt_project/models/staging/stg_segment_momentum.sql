with

source as (

    select * from {{ source('lake', 'segment_momentum') }}

),

renamed as (

    select

        ---------- ids
        flywheel,

        ---------- text
        segment,
        metric,

        ---------- numerics
        n_flywheel,
        n_control,
        lift,
        lower,
        upper,

        ---------- dates
        cycle,

        ---------- lists
        strata

    from source

)

select * from renamed
