// An HTTP server on this machine that the cluster's pods reach: datasets as users host them, and the ways in which
// such a server goes wrong.

import { createServer, type RequestListener, type Server } from "node:http";

export interface FileServer {
  /** `http://address:port/<path>` as pods see it. */
  url(path: string): string;
  serve(path: string, content: Buffer | RequestListener): void;
  close(): Promise<void>;
}

export async function startFileServer(address: string): Promise<FileServer> {
  const served = new Map<string, Buffer | RequestListener>();
  const server = createServer((request, response) => {
    const content = served.get((request.url ?? "/").slice(1));
    if (content === undefined) {
      response.writeHead(404, { "content-type": "text/plain" }).end("not found");
    } else if (typeof content === "function") {
      content(request, response);
    } else {
      response.writeHead(200, { "content-length": content.length }).end(content);
    }
  });
  const port = await listen(server, address);
  return {
    url: (path) => `http://${address}:${port}/${path}`,
    serve: (path, content) => {
      served.set(path, content);
    },
    close: () =>
      new Promise((resolve, reject) => {
        server.closeAllConnections();
        server.close((error) => (error === undefined ? resolve() : reject(error)));
      }),
  };
}

function listen(server: Server, host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host, port: 0 }, () => {
      const address = server.address();
      if (address === null || typeof address === "string") reject(new Error("no port"));
      else resolve(address.port);
    });
  });
}
