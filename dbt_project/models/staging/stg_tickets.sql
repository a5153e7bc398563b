with

source as (

    select * from {{ source('lake', 'tickets') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        ticket_id,
        batch_id,

        ---------- text
        segment,
        subject,
        text,
        channel,
        status,
        locale,
        removed,

        ---------- numerics
        source_row,

        ---------- dates
        cycle,

        ---------- timestamps
        created_at,
        recorded_at

    from source

)

select * from renamed
