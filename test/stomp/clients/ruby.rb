# ruby-stomp: sends with receipts, then receives and acknowledges each. Prints JSON lines.
#
# Usage: ruby.rb host port login passcode destination count
require 'json'
require 'stomp'
require 'timeout'

SECONDS = 60

def say(event)
  puts JSON.generate(event)
  $stdout.flush
end

def take(connection, command)
  frame = Timeout.timeout(SECONDS) { connection.receive }
  abort "nothing came where #{command} was expected" if frame.nil?
  abort "#{frame.command} came where #{command} was expected: #{frame.headers} #{frame.body}" if frame.command != command
  frame
end

host, port, login, passcode, destination, count = ARGV
connection = Stomp::Connection.new(
  hosts: [{ login: login, passcode: passcode, host: host, port: port.to_i }],
  reliable: false,
  connect_headers: { 'accept-version' => '1.0,1.1,1.2', 'host' => host }
)
abort connection.connection_frame.headers.to_s if connection.connection_frame.command != 'CONNECTED'
say(event: 'connected', version: connection.protocol)
count.to_i.times { |n| connection.publish(destination, "message #{n} \u00e4", receipt: "send-#{n}") }
count.to_i.times { say(event: 'receipt', id: take(connection, 'RECEIPT').headers['receipt-id']) }
connection.subscribe(destination, { id: '1', ack: 'client-individual' }, '1')
count.to_i.times do
  message = take(connection, 'MESSAGE')
  say(event: 'message', body: message.body)
  connection.ack(message.headers['ack'])
end
connection.unsubscribe(destination, { id: '1', receipt: 'bye' }, '1')
say(event: 'receipt', id: take(connection, 'RECEIPT').headers['receipt-id'])
connection.disconnect
