with

source as (

    select * from {{ source('lake', 'input_versions') }}

),

renamed as (

    select

        ---------- ids
        flywheel,
        input_version,

        ---------- text
        consumer,
        input_table,

        ---------- dates
        cycle,
        input_cycle

    from source

)

select * from renamed
