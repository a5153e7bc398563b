with

source as (

    select * from {{ source('lake', 'quarantine_events') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        quarantined_batch,
        batch_id,

        ---------- text
        event,
        decided_by,
        note,

        ---------- numerics
        quarantined_row,
        source_row,

        ---------- timestamps
        recorded_at

    from source

)

select * from renamed
