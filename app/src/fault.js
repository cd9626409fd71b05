// Something that people are told: a key of the words and what to put into them.

export class Fault extends Error {
  constructor(key, ...values) {
    super(key);
    this.key = key;
    this.values = values;
  }
}
