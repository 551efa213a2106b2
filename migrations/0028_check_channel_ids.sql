-- oldest program: 19
--
-- Looks through all messages once while others read and write, and finds nothing: what 0027 put in place of a constraint means the same. Until it is
-- marked as checked, dumps and planners take it for a promise about new rows only.
alter table towpath.message validate constraint channel_id_has_up_to_64_characters;
