with

source as (

    select * from {{ source('lake', 'thresholds') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        threshold_version,
        batch_id,

        ---------- text
        metric,
        rule,

        ---------- numerics
        source_row,

        ---------- dates
        effective_from,

        ---------- timestamps
        recorded_at

    from source

)

select * from renamed
