with

source as (

    select * from {{ source('lake', 'audit') }}

),

renamed as (

    select

        ---------- ids
        flywheel,

        ---------- text
        question,
        evidence,

        ---------- numerics
        item,
        number,

        ---------- booleans
        passed,

        ---------- dates
        cycle

    from source

)

select * from renamed
