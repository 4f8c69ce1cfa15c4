/** The public, embeddable API of the package `holdfast`: the one deliberate barrel. */
export { VERSION } from './base/version.ts';
