with

source as (

    select * from {{ source('lake', 'output_links') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        external_id,
        output_id,
        batch_id,

        ---------- numerics
        source_row,

        ---------- dates
        output_cycle,

        ---------- timestamps
        recorded_at

    from source

)

select * from renamed
