with

source as (

    select * from {{ source('lake', 'shipped_fixes') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        fix_id,
        batch_id,

        ---------- text
        theme,
        what,

        ---------- numerics
        source_row,

        ---------- dates
        cycle,
        shipped_on,

        ---------- timestamps
        recorded_at

    from source

)

select * from renamed
