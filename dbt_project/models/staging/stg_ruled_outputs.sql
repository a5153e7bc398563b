with

source as (

    select * from {{ source('lake', 'ruled_outputs') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        output_id,

        ---------- text
        ruling,
        person,
        reason,

        ---------- dates
        cycle,
        source_cycle,
        effective_from,

        ---------- timestamps
        known_at

    from source

)

select * from renamed
