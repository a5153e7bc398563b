with

source as (

    select * from {{ source('lake', 'quarantine') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        batch_id,

        ---------- text
        source,
        field,
        found,
        reason,
        feed,
        problem,
        cells,

        ---------- numerics
        source_row,

        ---------- timestamps
        recorded_at

    from source

)

select * from renamed
