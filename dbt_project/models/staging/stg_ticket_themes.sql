with

source as (

    select * from {{ source('lake', 'ticket_themes') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        ticket_id,
        theme_id,
        nearest_id,

        ---------- text
        segment,
        how,

        ---------- numerics
        probability,

        ---------- dates
        cycle,
        ticket_cycle,
        written_on

    from source

)

select * from renamed
