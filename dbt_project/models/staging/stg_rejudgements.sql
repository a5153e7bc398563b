with

source as (

    select * from {{ source('lake', 'rejudgements') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        threshold_version,
        replaces_version,
        batch_id,

        ---------- numerics
        source_row,

        ---------- dates
        cycle,

        ---------- timestamps
        recorded_at

    from source

)

select * from renamed
