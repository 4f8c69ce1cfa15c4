import assert from 'node:assert/strict';
import { test } from 'node:test';
import { wallClockOf } from '../../src/base/time-zone.ts';

const read = (zone: string, text: string) => {
  const ms = wallClockOf(zone)?.(Date.parse(`${text}Z`));
  return ms === undefined ? undefined : new Date(ms).toISOString();
};

test('wallClockOf() reads a clock as it was set at the time, winter and summer', () => {
  assert.equal(read('UTC', '2016-03-31T21:54:39.125'), '2016-03-31T21:54:39.125Z');
  assert.equal(read('Europe/Berlin', '2016-01-15T12:00:00'), '2016-01-15T11:00:00.000Z');
  assert.equal(read('Europe/Berlin', '2016-07-15T12:00:00'), '2016-07-15T10:00:00.000Z');
  assert.equal(read('America/Los_Angeles', '2016-07-15T20:00:00'), '2016-07-16T03:00:00.000Z');
  assert.equal(read('Asia/Kathmandu', '2016-07-15T00:00:00'), '2016-07-14T18:15:00.000Z');
});

test('wallClockOf() takes the first of a time that came twice, and goes on over one that never was', () => {
  assert.equal(read('Europe/Berlin', '2016-10-30T01:59:59'), '2016-10-29T23:59:59.000Z');
  assert.equal(read('Europe/Berlin', '2016-10-30T02:30:00'), '2016-10-30T00:30:00.000Z');
  assert.equal(read('Europe/Berlin', '2016-10-30T03:00:00'), '2016-10-30T02:00:00.000Z');
  assert.equal(read('Europe/Berlin', '2016-03-27T01:59:59'), '2016-03-27T00:59:59.000Z');
  assert.equal(read('Europe/Berlin', '2016-03-27T02:30:00'), '2016-03-27T01:30:00.000Z');
  assert.equal(read('Europe/Berlin', '2016-03-27T03:00:00'), '2016-03-27T01:00:00.000Z');
});

test('wallClockOf() knows no place that there is not', () => {
  assert.equal(wallClockOf('Mars/Olympus'), undefined);
  assert.equal(wallClockOf(''), undefined);
});
