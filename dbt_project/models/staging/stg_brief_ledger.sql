with

source as (

    select * from {{ source('lake', 'brief_ledger') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        brief_id,
        batch_id,

        ---------- text
        segment,
        title,
        locale,
        fields,

        ---------- numerics
        source_row,

        ---------- dates
        cycle,

        ---------- timestamps
        recorded_at

    from source

)

select * from renamed
