/** All clients have batches live and die for `ms`: how many messages did, in what time, and how long each batch took (ms). */
export async function runSlice(clients, batch, ms) {
  const start = performance.now();
  const times = [];
  let lives = 0;
  await Promise.all(
    clients.map(async ({ live }) => {
      while (performance.now() < start + ms) {
        const began = performance.now();
        const count = await live(batch);
        lives += count;
        times.push(performance.now() - began);
      }
    }),
  );
  return { lives, times, perSecond: (lives / (performance.now() - start)) * 1000 };
}
