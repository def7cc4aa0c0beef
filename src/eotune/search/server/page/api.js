// The server's answers, or the reason why there is none.

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer. Is it still running?");
  }
  if (answer.status === 401) location.reload(); // the server has been started again and asks for its token
  const body = await answer.json().catch(() => ({ error: `the server answered ${answer.status}` }));
  if (!answer.ok) throw new Error(body.error);
  return body;
}

export const summary = () => ask("/api/index");

export const tile = (id) => ask(`/api/tile/${id}`);

export function search(request, signal) {
  const body = JSON.stringify(request);
  return ask("/api/search", { method: "POST", headers: { "content-type": "application/json" }, body, signal });
}

export function searchImage(file, request, signal) {
  const query = new URLSearchParams(Object.entries(request).map(([name, value]) => [name, String(value)]));
  const headers = { "content-type": file.type || "application/octet-stream" };
  return ask(`/api/search/image?${query}`, { method: "POST", headers, body: file, signal });
}
