// fast-gateway with Basic Auth and a limit by address written as middlewares. usage: node fast_gateway.cjs PORT UPSTREAM
const gateway = require('fast-gateway')

const expected = 'Basic ' + Buffer.from('bench:bench-password').toString('base64')
const windows = new Map()

function authenticate (request, response, next) {
  if (request.headers.authorization !== expected) {
    response.statusCode = 401
    response.setHeader('WWW-Authenticate', 'Basic')
    return response.end()
  }
  return next()
}

function limit (request, response, next) {
  const now = Date.now()
  const caller = request.socket.remoteAddress
  let window = windows.get(caller)
  if (!window || now - window.since >= 1000) windows.set(caller, (window = { since: now, count: 0 }))
  if (++window.count > 1e6) {
    response.statusCode = 429
    return response.end()
  }
  return next()
}

gateway({
  middlewares: [authenticate, limit],
  routes: [{ prefix: '/orders', pathRegex: '', prefixRewrite: '/orders', target: `http://127.0.0.1:${process.argv[3]}` }]
}).start(Number(process.argv[2]), '127.0.0.1')
