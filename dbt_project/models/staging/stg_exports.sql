with

source as (

    select * from {{ source('lake', 'exports') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        output_id,
        batch_id,

        ---------- text
        arm,

        ---------- numerics
        export,
        source_row,

        ---------- dates
        cycle,

        ---------- timestamps
        recorded_at

    from source

)

select * from renamed
