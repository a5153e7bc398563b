with

source as (

    select * from {{ source('lake', 'theme_events') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        theme_id,
        other_id,

        ---------- text
        event,
        detail,

        ---------- numerics
        event_number,

        ---------- dates
        cycle

    from source

)

select * from renamed
