// A fault that the page reports: the key of its sentence, and the values that the sentence takes.

export class Fault extends Error {
  constructor(key, ...values) {
    super(key);
    this.key = key;
    this.values = values;
  }
}
