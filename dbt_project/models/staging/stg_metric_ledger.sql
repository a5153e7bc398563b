with

source as (

    select * from {{ source('lake', 'metric_ledger') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        output_id,
        batch_id,

        ---------- text
        measure,
        feed,

        ---------- numerics
        value,
        source_row,

        ---------- dates
        cycle,
        measured_on,

        ---------- timestamps
        recorded_at

    from source

)

select * from renamed
