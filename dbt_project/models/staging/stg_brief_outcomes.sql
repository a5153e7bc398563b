with

source as (

    select * from {{ source('lake', 'brief_outcomes') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        brief_id,

        ---------- text
        segment,

        ---------- numerics
        flywheel_value,
        control_value,
        challenger_value,
        n_measured,
        chance,

        ---------- booleans
        is_counted,
        hit,

        ---------- dates
        cycle

    from source

)

select * from renamed
