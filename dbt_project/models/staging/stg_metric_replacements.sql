with

source as (

    select * from {{ source('lake', 'metric_replacements') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        batch_id,

        ---------- text
        feed,

        ---------- numerics
        source_row,

        ---------- dates
        cycle,
        first_day,
        last_day,

        ---------- timestamps
        recorded_at

    from source

)

select * from renamed
