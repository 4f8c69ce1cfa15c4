/**
 * The registry: the centre that knows every host. This file lists all its parts in the order in which they are built;
 * `close` undoes them in reverse.
 */
